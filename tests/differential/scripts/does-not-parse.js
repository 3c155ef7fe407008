// verdict: Error ScriptError
export const options = { vus: 3, iterations: 12 ;
export default function () {}
