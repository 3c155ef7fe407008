import http from 'k6/http';
export const options = { vus: 3, iterations: 12, batch: 2, discardResponseBodies: true, thresholds: { http_reqs: ['count==48'] } };
export default function () { http.batch(Array(4).fill(['GET', `${__ENV.SITE}/3/200`])); }
