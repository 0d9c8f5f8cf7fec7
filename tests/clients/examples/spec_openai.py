import openai

# 配置指向本地服务
openai.api_base = "http://localhost:8000/v1"
openai.api_key = "any-key"  # 可选的认证

# 完全兼容OpenAI API
response = openai.ChatCompletion.create(
    model="qwen-7b-chat",
    messages=[
        {"role": "system", "content": "你是一个有帮助的助手"},
        {"role": "user", "content": "请解释人工智能的概念"}
    ]
)

print(response.choices[0].message.content)
