import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
const spent = new Counter('spent'), good = new Rate('good'), own = new Trend('own'), took = new Trend('took', true);
import http from 'k6/http';
export const options = {
  vus: 4, iterations: 60,
  thresholds: {
    spent: ['count>20', 'rate>0'], good: ['rate>0.3'], own: ['avg>10', 'p(95)<150', 'max<102', 'min>=1', 'med<200'],
    http_req_failed: ['rate<0.01'], 'http_req_duration{status:200}': ['max>=5'], iterations: ['count==60'], checks: ['rate>0.9'],
  },
};
export default function () {
  const n = exec.scenario.iterationInTest;
  spent.add(0.25 * (n % 4)); good.add(n % 3 === 0); own.add((n * 37) % 101 + 1); took.add(1.5 ** (n % 20));
  http.get(`${__ENV.SITE}/5/200`);
}
