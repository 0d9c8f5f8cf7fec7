// npm's openai: a schema and a forced call, streamed.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "any" });
const model = "qwen-7b-chat";
const messages = [{ role: "user", content: "你好" }];
const schema = {
  type: "object",
  properties: { shade: { enum: ["light", "dark"] } },
  required: ["shade"],
  additionalProperties: false,
};

const response_format = { type: "json_schema", json_schema: { name: "colour", schema, strict: true } };
const whole = await client.chat.completions.parse({ model, messages, response_format });
assert.ok(["light", "dark"].includes(JSON.parse(whole.choices[0].message.content).shade));

const tools = [{ type: "function", function: { name: "paint", parameters: schema } }];
const stream = client.chat.completions.stream({ model, messages, tools, tool_choice: "required" });
const [call] = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
assert.equal(call.function.name, "paint");
assert.ok(["light", "dark"].includes(JSON.parse(call.function.arguments).shade));
console.log("done");
