import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
const spent = new Counter('spent'), good = new Rate('good'), own = new Trend('own'), took = new Trend('took', true);
import http from 'k6/http';
export const options = {
  vus: 4, iterations: 60,
  thresholds: { own: ['p(95)<20', 'avg<1000'], good: ['rate>0.5'], http_req_failed: ['rate<0.1'], spent: ['count<1'] },
};
export default function () {
  const n = exec.scenario.iterationInTest;
  spent.add(0.25 * (n % 4)); good.add(n % 3 === 0); own.add((n * 37) % 101 + 1); took.add(1.5 ** (n % 20));
  http.get(`${__ENV.SITE}/2/503`);
}
