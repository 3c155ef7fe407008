import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
const entered = new Counter('entered'), left = new Counter('left');
export const options = {
  scenarios: { cut: { executor: 'per-vu-iterations', vus: 6, iterations: 1, maxDuration: '1s', gracefulStop: '0s' } },
};
export default function () { entered.add(1); sleep(60); left.add(1); }
