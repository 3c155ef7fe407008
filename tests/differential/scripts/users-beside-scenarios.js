/* From 2.1 on k6 takes `vus` in place of the scenarios; before, it leaves `vus` out. */
export const options = {
  vus: 3,
  scenarios: { browse: { executor: 'per-vu-iterations', vus: 3, iterations: 5, exec: 'browse' } },
};
export function browse() {}
export default function () {}
