import http from 'k6/http';
import { Counter } from 'k6/metrics';
const used = new Counter('used'), torn = new Counter('torn'), prepared = new Counter('prepared');
export const options = { vus: 3, iterations: 12, thresholds: { used: ['count==60'], torn: ['count==5'], prepared: ['count==1'] } };
export function setup() {
  prepared.add(1);
  http.get(`${__ENV.SITE}/5/200`);
  return { n: 5, deep: { list: [1, 'two', null, 3.5], text: 'ü"\n' } };
}
export default function (data) {
  if (data.deep.list.length !== 4 || data.deep.text !== 'ü"\n') throw new Error('other data');
  used.add(data.n);
}
export function teardown(data) { torn.add(data.n); http.get(`${__ENV.SITE}/5/200`); }
