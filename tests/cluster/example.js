// A script that stands in the k6 image, for spec.script.localFile.
export const options = { vus: 2, iterations: 2 };
export default function () {
  console.log(`from the image for ${__ENV.WHO || 'anyone'}`);
}
