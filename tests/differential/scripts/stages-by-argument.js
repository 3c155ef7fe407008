// arguments: --stage 1s:6 --stage 1s:6
// counts within: 8
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
const entered = new Counter('entered');
export default function () {
  if (exec.vu.iterationInScenario >= 2) { sleep(1.2); return; }
  entered.add(1);
}
