import http from 'k6/http';
export const options = {
  vus: 3, iterations: 12, tags: { team: 'red', name: 'all' },
  thresholds: { 'http_reqs{team:red}': ['count==12'], 'iterations{team:blue}': ['count<1'], 'http_reqs{name:all}': ['count>0'] },
};
export default function () { http.get(`${__ENV.SITE}/1/200`); }
