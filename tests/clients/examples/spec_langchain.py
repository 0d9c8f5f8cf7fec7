from langchain.llms import OpenAI
from langchain.chat_models import ChatOpenAI

# 使用本地模型
llm = OpenAI(
    openai_api_base="http://localhost:8000/v1",
    model_name="qwen-7b-chat"
)

# 或者使用聊天模型
chat = ChatOpenAI(
    openai_api_base="http://localhost:8000/v1",
    model_name="qwen-7b-chat"
)
print([llm.invoke("请解释人工智能的概念"), chat.invoke("请解释人工智能的概念").content])
