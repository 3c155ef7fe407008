export const options = { vus: 3, iterations: 6 };
export function setup() { return { token: 's3cret \u2028 "<&>', list: [1, null, 2.5], none: null, deep: { a: { b: true } } }; }
export default function (data) { if (data.token.length < 6) throw new Error('no token'); }
