import exec from 'k6/execution';
import http from 'k6/http';
import { sleep } from 'k6';
export const options = {
  scenarios: {
    ramp: {
      executor: 'ramping-vus', startVUs: 0, gracefulRampDown: '0s', gracefulStop: '0s',
      stages: [{ duration: '1s', target: 9 }, { duration: '1s', target: 9 }],
    },
  },
};
export default function () {
  if (exec.vu.iterationInScenario >= 3) sleep(60);
  http.get(`${__ENV.SITE}/5/200`);
}
