// environment: TIMES=15 WORD=here
export const options = { vus: 3, iterations: Number(__ENV.TIMES), tags: { of: __ENV.WORD } };
export default function () {}
