// k6: 1.1
import exec from 'k6/execution';
export const options = { vus: 3, iterations: 12 };
export default function () { if (exec.scenario.iterationInTest === 7) exec.test.fail('seven is bad'); }
