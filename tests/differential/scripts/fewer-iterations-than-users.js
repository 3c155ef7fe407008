// verdict: Error ScriptError
export const options = { vus: 6, iterations: 4 };
export default function () {}
