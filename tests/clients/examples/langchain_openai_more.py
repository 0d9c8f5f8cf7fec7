"""langchain-openai: chat, stream, async, completions and embeddings."""

import asyncio

from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

BASE = "http://localhost:8000/v1"
chat = ChatOpenAI(base_url=BASE, model="qwen-7b-chat", temperature=0)
whole = chat.invoke("你好")
assert whole.usage_metadata["total_tokens"] > 0
assert "".join(chunk.content for chunk in chat.stream("你好")) == whole.content
assert asyncio.run(chat.ainvoke("你好")).content == whole.content
assert (
    ChatOpenAI(base_url=BASE, model="qwen-7b-chat", temperature=0, use_responses_api=True).invoke("你好").text
)

llm = OpenAI(base_url=BASE, model="qwen-7b-chat", temperature=0, max_tokens=16)
assert len(llm.batch(["What is", "你好"])) == 2
assert "".join(llm.stream("What is")) == llm.invoke("What is")
embeddings = OpenAIEmbeddings(base_url=BASE, model="qwen-7b-chat", check_embedding_ctx_length=False)
assert len(embeddings.embed_documents(["a", "b"])) == 2
print("done")
