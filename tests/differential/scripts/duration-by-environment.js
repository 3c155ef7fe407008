// environment: K6_VUS=4 K6_DURATION=2s
import exec from 'k6/execution';
import { sleep } from 'k6';
export default function () {
  if (exec.vu.iterationInScenario >= 3) sleep(3);
}
