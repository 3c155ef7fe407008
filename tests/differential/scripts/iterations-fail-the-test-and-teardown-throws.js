// k6: 1.1
import exec from 'k6/execution';
export const options = { vus: 3, iterations: 12 };
export default function () { exec.test.fail('bad'); }
export function teardown() { throw new Error('not clean'); }
