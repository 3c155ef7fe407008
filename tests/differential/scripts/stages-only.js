// counts within: 8
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
const entered = new Counter('entered');
export const options = { stages: [{ duration: '1s', target: 6 }, { duration: '1s', target: 6 }, { duration: '0s', target: 0 }] };
export default function () {
  if (exec.vu.iterationInScenario >= 2) { sleep(1.2); return; }
  entered.add(1);
}
