// counts within: 3
import { Counter } from 'k6/metrics';
const arrived = new Counter('arrived');
export const options = {
  scenarios: {
    ramp: {
      executor: 'ramping-arrival-rate', startRate: 0, timeUnit: '1s', preAllocatedVUs: 30,
      stages: [{ target: 30, duration: '1s' }, { target: 30, duration: '1s' }],
    },
  },
};
export default function () { arrived.add(1); }
