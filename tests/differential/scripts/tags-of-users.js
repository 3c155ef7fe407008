import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
const entered = new Counter('entered');
export const options = { vus: 3, iterations: 12, thresholds: { 'entered{step:one}': ['count==12'], 'entered{step:two}': ['count==24'] } };
export default function () {
  exec.vu.metrics.tags.step = 'one';
  entered.add(1);
  exec.vu.metrics.tags.step = 'two';
  entered.add(2, { more: 'yes' });
}
