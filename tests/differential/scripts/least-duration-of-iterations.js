export const options = { vus: 3, iterations: 12, minIterationDuration: '500ms' };
export default function () {}
