export const options = { vus: 3, iterations: 12, thresholds: { iterations: ['count<1'] } };
export default function () {}
export function teardown() { throw new Error('not clean'); }
