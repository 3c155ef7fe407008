// known: testRunDurationMs: k6 does not cut rps by segment, and each runner asks as often
// arguments: --rps 12
import http from 'k6/http';
export const options = { vus: 3, iterations: 60 };
export default function () { http.get(`${__ENV.SITE}/1/200`); }
