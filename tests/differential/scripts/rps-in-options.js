import http from 'k6/http';
export const options = { vus: 3, iterations: 120, rps: 12 };
export default function () { http.get(`${__ENV.SITE}/1/200`); }
