// k6: 1.1
import exec from 'k6/execution';
export const options = { vus: 3, iterations: 12 };
export default function () {}
export function teardown() { exec.test.fail('not clean'); }
