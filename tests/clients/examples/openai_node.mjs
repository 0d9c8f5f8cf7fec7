// npm's openai: chat, streams, completions, embeddings, responses.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "any" });
const model = "qwen-7b-chat";
const messages = [{ role: "user", content: "你好" }];

const whole = await client.chat.completions.create({ model, messages, temperature: 0 });
const text = whole.choices[0].message.content;
let streamed = "";
for await (const chunk of await client.chat.completions.create({ model, messages, temperature: 0, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, text);
const final = await client.chat.completions.stream({ model, messages, temperature: 0 }).finalChatCompletion();
assert.equal(final.choices[0].message.content, text);
const completion = await client.completions.create({ model, prompt: ["What is", "你好"], max_tokens: 8 });
assert.equal(completion.choices.length, 2);
const embedding = await client.embeddings.create({ model, input: "你好" });
assert.ok(embedding.data[0].embedding.length > 8);
assert.ok(Math.abs(embedding.data[0].embedding.reduce((sum, value) => sum + value * value, 0) - 1) < 1e-3);
const response = await client.responses.create({ model, input: "你好", temperature: 0 });
assert.equal(response.output_text, text);
await assert.rejects(client.chat.completions.create({ model: "nobody", messages }), { status: 404 });
console.log(text);
