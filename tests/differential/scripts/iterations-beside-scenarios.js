// verdict: Error ScriptError
export const options = {
  iterations: 9,
  scenarios: { browse: { executor: 'per-vu-iterations', vus: 3, iterations: 5 } },
};
export default function () {}
