import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
const spent = new Counter('spent'), good = new Rate('good'), own = new Trend('own'), took = new Trend('took', true);
import http from 'k6/http';
import { sleep } from 'k6';
export const options = { scenarios: { held: { executor: 'constant-vus', vus: 6, duration: '2s', gracefulStop: '0s' } } };
// Each does three, and is interrupted in the fourth.
export default function () {
  if (exec.vu.iterationInScenario >= 3) sleep(60);
  const n = 3 * exec.vu.idInTest + exec.vu.iterationInScenario;
  spent.add(0.25 * (n % 4)); good.add(n % 3 === 0); own.add((n * 37) % 101 + 1); took.add(1.5 ** (n % 20));
  http.get(`${__ENV.SITE}/5/200`);
}
