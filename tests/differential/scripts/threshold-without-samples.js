import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
const silent = new Trend('silent', true), never = new Rate('never'), none = new Counter('none', true), level = new Gauge('level');
export const options = {
  vus: 3, iterations: 6,
  thresholds: {
    silent: ['p(95)<10'], never: ['rate<0.1'], none: ['rate<0.5'], level: ['value<1'], 'silent{page:cart}': ['avg<1'],
    'never{page:cart}': ['rate>0.9'],
  },
};
export default function () { if (__ENV.SPEAK) { silent.add(1); never.add(1); none.add(1); level.add(1); } }
