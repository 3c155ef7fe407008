import exec from 'k6/execution';
import { sleep } from 'k6';
import { Rate } from 'k6/metrics';
const good = new Rate('good');
export const options = {
  scenarios: { held: { executor: 'constant-vus', vus: 6, duration: '60s', gracefulStop: '0s' } },
  thresholds: { good: [{ threshold: 'rate>0.9', abortOnFail: true, delayAbortEval: '2s' }] },
};
export default function () {
  if (exec.vu.iterationInScenario >= 3) sleep(60);
  good.add(false);
}
