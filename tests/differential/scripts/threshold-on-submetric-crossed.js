import http from 'k6/http';
import exec from 'k6/execution';
export const options = {
  vus: 3, iterations: 30,
  thresholds: { 'http_reqs{kind:odd}': ['count<10'], 'http_reqs{kind:even}': ['count<100'], 'http_req_duration{kind:none}': ['p(95)<1'] },
};
export default function () {
  const kind = exec.scenario.iterationInTest % 2 ? 'odd' : 'even';
  http.get(`${__ENV.SITE}/2/200`, { tags: { kind } });
}
