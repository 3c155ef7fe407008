import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
const spent = new Counter('spent'), good = new Rate('good'), own = new Trend('own'), took = new Trend('took', true);
import http from 'k6/http';
const level = new Gauge('level');
export const options = { scenarios: { all: { executor: 'shared-iterations', vus: 6, iterations: 90 } } };
export default function () {
  const n = exec.scenario.iterationInTest;
  spent.add(0.25 * (n % 4)); good.add(n % 3 === 0); own.add((n * 37) % 101 + 1); took.add(1.5 ** (n % 20));
  level.add(7);
  http.get(`${__ENV.SITE}/5/200`);
}
