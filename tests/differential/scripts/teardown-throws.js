// known: reason: a teardown() that fails is told by a warning and not by the result
// known: result: a teardown() that fails is told by a warning and not by the result
export const options = { vus: 3, iterations: 12 };
export function setup() { return 1; }
export default function () {}
export function teardown() { throw new Error('still there'); }
