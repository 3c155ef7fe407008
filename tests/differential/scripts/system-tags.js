import http from 'k6/http';
export const options = {
  vus: 3, iterations: 12, systemTags: ['status', 'method', 'scenario'],
  thresholds: { 'http_reqs{status:200}': ['count==12'], 'http_reqs{method:POST}': ['count==12'], 'http_reqs{name:x}': ['count==0'] },
};
export default function () { http.get(`${__ENV.SITE}/1/200`); http.post(`${__ENV.SITE}/1/405`); }
