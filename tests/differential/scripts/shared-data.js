import { SharedArray } from 'k6/data';
import { Counter } from 'k6/metrics';
import exec from 'k6/execution';
const names = new SharedArray('names', () => Array.from({ length: 50 }, (_, i) => ({ n: i })));
const sum = new Counter('sum');
export const options = { vus: 5, iterations: 50, thresholds: { sum: ['count==1225'] } };
// Each entry once, whichever runner has it.
export default function () { sum.add(names[exec.scenario.iterationInTest].n); }
