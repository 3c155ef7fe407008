// counts within: 8
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
const entered = new Counter('entered');
export const options = { scenarios: { held: { executor: 'constant-vus', vus: 6, duration: '12s', gracefulStop: '0s' } } };
export default function () {
  if (exec.vu.iterationInScenario >= 3) {
    if (exec.vu.idInTest === 2) exec.test.abort('enough');
    sleep(60);
  }
  entered.add(1);
  sleep(0.1);
}
