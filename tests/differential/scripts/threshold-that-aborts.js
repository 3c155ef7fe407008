import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
const entered = new Counter('entered');
export const options = {
  scenarios: { held: { executor: 'constant-vus', vus: 6, duration: '60s', gracefulStop: '0s' } },
  thresholds: { entered: [{ threshold: 'count<10', abortOnFail: true }] },
};
export default function () {
  if (exec.vu.iterationInScenario >= 3) sleep(60);
  entered.add(1);
}
