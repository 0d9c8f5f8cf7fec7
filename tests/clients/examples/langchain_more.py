"""LangChain's older classes: several prompts, streams, and the usage they look for."""

from langchain.chat_models import ChatOpenAI
from langchain.llms import OpenAI

BASE = "http://localhost:8000/v1"
llm = OpenAI(openai_api_base=BASE, model_name="qwen-7b-chat", temperature=0, max_tokens=16, n=2, best_of=2)
result = llm.generate(["What is", "你好"])
assert [len(generations) for generations in result.generations] == [2, 2]
assert result.llm_output["token_usage"]["total_tokens"] > 0

single = OpenAI(openai_api_base=BASE, model_name="qwen-7b-chat", temperature=0, max_tokens=16)
assert "".join(single.stream("What is")) == single.invoke("What is")
default_name = OpenAI(openai_api_base=BASE, max_tokens=4)
assert isinstance(default_name.invoke("What is"), str)

chat = ChatOpenAI(openai_api_base=BASE, model_name="qwen-7b-chat", temperature=0)
assert "".join(chunk.content for chunk in chat.stream("你好")) == chat.invoke("你好").content
print("done")
