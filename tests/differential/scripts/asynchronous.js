import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
const spent = new Counter('spent'), good = new Rate('good'), own = new Trend('own'), took = new Trend('took', true);
import http from 'k6/http';
export const options = { vus: 3, iterations: 30 };
export default async function () {
  const n = exec.scenario.iterationInTest;
  spent.add(0.25 * (n % 4)); good.add(n % 3 === 0); own.add((n * 37) % 101 + 1); took.add(1.5 ** (n % 20));
  const answers = await Promise.all([http.asyncRequest('GET', `${__ENV.SITE}/3/200`), http.asyncRequest('GET', `${__ENV.SITE}/1/404`)]);
  if (answers[1].status !== 404) throw new Error('other');
  await new Promise((done) => setTimeout(done, 5));
}
