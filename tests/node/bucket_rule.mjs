// The page's JavaScript program, asked on standard input: [[salt, unit id], …] gives [bucket, …].

import assert from "node:assert";
import { readFileSync } from "node:fs";

const program = readFileSync(process.argv[2], "utf8");
const { bucket, variant } = new Function(`${program}; return { bucket, variant };`)();
const questions = JSON.parse(readFileSync(0, "utf8"));
const buckets = questions.map(([salt, unit]) => bucket(salt, unit));
questions.forEach(([salt, unit], n) => {
  const ranges = [["before", 0, buckets[n]], ["it", buckets[n], buckets[n] + 1], ["after", buckets[n] + 1, 1000000]];
  assert.equal(variant({ salt, ranges }, unit), "it");
});
process.stdout.write(JSON.stringify(buckets));
