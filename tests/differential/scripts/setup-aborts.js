// known: result: an abort in setup() ends as an Error
// known: reason: an abort in setup() ends as an Error
import exec from 'k6/execution';
export const options = { vus: 3, iterations: 12 };
export function setup() { exec.test.abort('the site is closed'); }
export default function () {}
