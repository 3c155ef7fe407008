// k6: 1.1
import exec from 'k6/execution';
export const options = { vus: 3, iterations: 12 };
export function setup() { exec.test.fail('no stock'); return { n: 1 }; }
export default function () {}
