// arguments: --tag team=red
import http from 'k6/http';
export const options = { vus: 3, iterations: 12, thresholds: { 'http_reqs{team:red}': ['count<5'] } };
export default function () { http.get(`${__ENV.SITE}/1/200`); }
