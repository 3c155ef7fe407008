export const options = { vus: 3, iterations: 12 };
export function setup() { return 1; }
export default function () {}
export function teardown() { throw new Error('still there'); }
