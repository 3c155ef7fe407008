// arguments: --no-thresholds
export const options = { vus: 3, iterations: 30, thresholds: { iterations: ['count<25'] } };
export default function () {}
