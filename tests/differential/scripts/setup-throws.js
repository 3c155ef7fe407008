// verdict: Error StartFailed
export const options = { vus: 3, iterations: 12 };
export function setup() { throw new Error('no login'); }
export default function () {}
