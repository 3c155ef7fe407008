// arguments: --vus 4
import exec from 'k6/execution';
import { sleep } from 'k6';
export const options = { duration: '2s' };
export default function () {
  if (exec.vu.iterationInScenario >= 3) sleep(3);
}
