// counts within: 60
import exec from 'k6/execution';
import { sleep } from 'k6';
export const options = { vus: 3, duration: '20s', thresholds: { iterations: ['count<1'] } };
export default function () {
  sleep(0.1);
  if (exec.vu.idInTest === 1 && exec.vu.iterationInInstance === 5) exec.test.abort('enough');
}
