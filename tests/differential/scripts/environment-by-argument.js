// arguments: --env TIMES=15
export const options = { vus: 3, iterations: Number(__ENV.TIMES) };
export default function () {}
