"""模糊测试：往套接字里写畸形的 HTTP。``make prove P=fuzz``；短的一场在每次的用例里（test_raw_fuzz.py）。"""
