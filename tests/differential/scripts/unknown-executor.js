// verdict: Error ScriptError
export const options = { scenarios: { peak: { executor: 'burst', vus: 3 } } };
export default function () {}
